"""A voice agent without a model, as a service: what a realtime backend can be tried and tested against."""
