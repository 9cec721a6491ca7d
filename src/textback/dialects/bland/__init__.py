"""Bland AI's SMS routes: https://docs.bland.ai/api-v1/post/sms-send."""
