"""What stands behind the programs; each folder says what it holds."""
