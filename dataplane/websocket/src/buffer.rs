//! The buffer that all connections of a worker read into.
//!
//! Invariant: it is borrowed within one `poll` only and nothing in it outlives that, so that ten thousand idle
//! connections need one buffer, not ten thousand.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// A read buffer shared by everything on one thread; cloning it shares it.
#[derive(Clone, Debug)]
pub struct SharedBuffer(Rc<RefCell<Box<[u8]>>>);

impl SharedBuffer {
    /// The size that makes a 16 KiB message pass in one read and one write.
    pub const DEFAULT_SIZE: usize = 64 * 1024;

    /// The least useful size: room for a few headers.
    pub const MIN_SIZE: usize = 256;

    /// A buffer of `size` bytes, at least [`SharedBuffer::MIN_SIZE`]. This is also the most a relay holds in one
    /// direction for a reader that is slow.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Rc::new(RefCell::new(
            vec![0; size.max(Self::MIN_SIZE)].into_boxed_slice(),
        )))
    }

    /// The buffer, until the result is dropped: do not keep it over an `await`. None if it is lent already.
    #[must_use]
    pub fn borrow(&self) -> Option<RefMut<'_, [u8]>> {
        self.0
            .try_borrow_mut()
            .ok()
            .map(|buffer| RefMut::map(buffer, |bytes| &mut **bytes))
    }
}

impl Default for SharedBuffer {
    fn default() -> Self {
        Self::new(Self::DEFAULT_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_buffer_is_not_lent_twice() {
        let buffer = SharedBuffer::new(1);
        let lent = buffer.borrow().unwrap();
        assert_eq!(lent.len(), SharedBuffer::MIN_SIZE);
        assert!(buffer.clone().borrow().is_none());
        drop(lent);
        assert!(buffer.borrow().is_some());
    }
}
