"""Snapshots of environments: taken, kept, checked, and put back."""
