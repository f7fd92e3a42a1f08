"""Slack's Web API, whose calls say in query and body what they are about: read once, judged, and sent as read."""
