//! The host side.
#![forbid(unsafe_code)]
