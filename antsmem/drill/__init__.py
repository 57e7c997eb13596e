"""The migration test and the reliability levels: what an agent survives, shown by evidence."""
