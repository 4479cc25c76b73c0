//! Whether the fuzzer sees coverage at all.

/// Fails for one input only, which nobody finds without seeing how near he is.
pub fn canary(data: &[u8]) {
    let mut near = 0;
    for (byte, wanted) in data.iter().zip(b"SLUICE") {
        if byte != wanted {
            return;
        }
        near += 1;
    }
    assert!(near < 6, "canary: found, as it must be");
}
