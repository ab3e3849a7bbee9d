"""The ledger's formats, pure functions: RFC 6962 trees and the C2SP texts around them.

tree (hashing, right edge) · proofs · note · checkpoint · tiles · kinds · body ·
entry · bundles (what is appended at each commit) · verify (a copied directory).
"""
