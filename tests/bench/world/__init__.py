"""What does the way of the packets cost? Calls in the laboratory, by four ways, and with parts that die."""
