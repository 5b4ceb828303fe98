//! Web application firewall: lists, limits, rules, audit events.
