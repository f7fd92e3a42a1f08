"""Pages: server-rendered, readable without script. They show and ask; they never decide."""
