"""How calls to Google's APIs are read: Gmail, Drive and Calendar, one reader for all three."""
