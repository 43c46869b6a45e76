"""Checks that anybody can run on environments of their own."""
