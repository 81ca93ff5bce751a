"""What samples cost: sessions per core by what the backend wants, beside stock aiortc."""
