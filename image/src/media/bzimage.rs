//! What a kernel image says of itself (Linux/x86 boot protocol).

/// Its release, such as `6.12.1-rk`.
pub fn release(kernel: &[u8]) -> Option<String> {
    const MAGIC: usize = 0x202;
    const VERSION: usize = 0x20e;
    const BASE: usize = 0x200;
    (kernel.get(MAGIC..MAGIC + 4)? == b"HdrS").then_some(())?;
    let at = BASE + usize::from(u16::from_le_bytes(*kernel.get(VERSION..)?.first_chunk()?));
    let text = kernel.get(at..)?.split(|b| *b == 0 || *b == b' ').next()?;
    String::from_utf8(text.to_vec()).ok().filter(|text| !text.is_empty() && text.len() < 128)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_release_is_found_behind_its_pointer() {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        kernel[0x300..0x30f].copy_from_slice(b"6.12.1-rk (a@b)");
        assert_eq!(super::release(&kernel).as_deref(), Some("6.12.1-rk"));
        assert_eq!(super::release(b"MZ"), None);
    }
}
