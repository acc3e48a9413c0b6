"""Texts written for whichtune: statements that are true or false, and word problems with their solutions."""
