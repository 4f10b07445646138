"""What Turnout keeps and runs on an application host. Standard library only."""
