"""site-idp: the identity provider of a demo node, on loopback, with the claims that Keycloak's realm has.

A stand-in: its issuer contains `/embedded`, it refuses every profile but demo,
and ledger entries say so. Device flow for people, private_key_jwt for programs,
tokens of at most five minutes bound to the client certificate it saw.
"""
