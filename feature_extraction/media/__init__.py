"""Media: a file or arrays > frames and samples on a clock."""
