//! Little-endian fields, written and read without trust.

/// Takes fields from the front of bytes; `None` once they do not suffice.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// Bytes behind their number.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let n = self.u32()?;
        self.bytes(n as usize)
    }

    /// Bytes behind their number, or nothing at all.
    pub(crate) fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.counted().map(Some),
            _ => None,
        }
    }
}

/// Appends fields to bytes.
pub(crate) trait WriteFields {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, n: u8) {
        self.put(&[n]);
    }

    fn put_u16(&mut self, n: u16) {
        self.put(&n.to_le_bytes());
    }

    fn put_u32(&mut self, n: u32) {
        self.put(&n.to_le_bytes());
    }

    fn put_u64(&mut self, n: u64) {
        self.put(&n.to_le_bytes());
    }

    fn put_u128(&mut self, n: u128) {
        self.put(&n.to_le_bytes());
    }

    fn put_counted(&mut self, bytes: &[u8]) {
        // What is written is bounded far below.
        self.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
    }

    fn put_optional(&mut self, bytes: Option<&[u8]>) {
        self.put_u8(u8::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            self.put_counted(bytes);
        }
    }
}

impl WriteFields for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
