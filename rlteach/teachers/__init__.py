"""Curriculum teachers, one file each. `rlteach list teachers` shows them."""
