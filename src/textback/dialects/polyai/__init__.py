"""PolyAI's outbound SMS.

https://docs.poly.ai/api-reference/outbound-sms/endpoint/send-sms
"""
