//! HTTP cache: keys, RFC 9111 policy, stores, fills, purge.
