//! A bug on purpose: where the harness does not find it, it would find no other.

/// Reads a magic and a length as a careless parser does: a length may be longer than what is there.
///
/// # Panics
/// With such a length.
pub fn canary(data: &[u8]) {
    if let Some([b'v', b's', b'h', length, rest @ ..]) = data.get(..) {
        _ = &rest[..usize::from(*length)];
    }
}
