"""Tables in CSV files. Empty, because server and sandbox load different halves of it."""
