"""The Celery app and the messages that wake the workers."""
