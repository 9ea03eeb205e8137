//! Bugs on purpose: whether `cargo xtask asan` would find one.

/// The byte behind `bytes`, which is not there.
fn byte_behind(bytes: &[u8]) -> u8 {
    // SAFETY: none; that is what has to be found.
    unsafe { bytes.as_ptr().add(bytes.len()).read_volatile() }
}

#[test]
#[ignore = "a bug on purpose"]
fn a_byte_behind_the_heap() {
    byte_behind(&std::hint::black_box(vec![7; 64]));
}

#[test]
#[ignore = "a bug on purpose"]
fn a_byte_behind_the_stack() {
    byte_behind(&std::hint::black_box([7; 64]));
}

#[test]
#[ignore = "a bug on purpose"]
fn a_byte_behind_a_static() {
    static BYTES: [u8; 64] = [7; 64];
    byte_behind(std::hint::black_box(&BYTES));
}
