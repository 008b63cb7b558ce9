//! The stack agent: answers for the homes of one host.
