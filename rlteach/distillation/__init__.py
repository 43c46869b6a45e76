"""Distillation: what a privileged teacher knows, put into a student that sees and remembers what it will be given."""
