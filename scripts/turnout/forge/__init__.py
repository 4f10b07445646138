"""What a forge knows of a commit and its branches: GitHub, and Gitea or Forgejo, by their documented HTTP APIs."""
