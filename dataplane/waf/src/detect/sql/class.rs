//! Classes of bytes, as SQL servers see them: one table, one bit for each class.
//!
//! NUL belongs to every class of what a literal may have in it. libinjection's does so (it asks C's `strchr`, which
//! finds the end of the list), and a server that reads C strings ends there anyway.

/// What a byte may be part of. Several can be combined.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

impl Class {
    /// Space to every server; 0xA0 is to MySQL in Latin-1.
    pub(super) const SPACE: Self = Self(1);
    /// What a bare word ends before.
    pub(super) const ENDS_WORD: Self = Self(2);
    /// What the name of a variable ends before.
    pub(super) const ENDS_VARIABLE: Self = Self(4);
    pub(super) const LETTER: Self = Self(8);
    pub(super) const HEXADECIMAL: Self = Self(16);
    pub(super) const BINARY: Self = Self(32);
    /// What an amount of money is written with.
    pub(super) const MONEY: Self = Self(64);

    #[inline]
    pub(super) fn has(self, byte: u8) -> bool {
        CLASSES
            .get(usize::from(byte))
            .is_some_and(|classes| classes & self.0 != 0)
    }
}

static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let lists: [(Class, &[u8]); 7] = [
        (Class::SPACE, b" \t\n\x0b\x0c\r\xa0\0"),
        (Class::ENDS_WORD, b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\xa0\0"),
        (Class::ENDS_VARIABLE, b" <>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r'`\"\0"),
        (Class::LETTER, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\0"),
        (Class::HEXADECIMAL, b"0123456789abcdefABCDEF\0"),
        (Class::BINARY, b"01\0"),
        (Class::MONEY, b"0123456789.,\0"),
    ];
    let mut list = 0;
    while list < lists.len() {
        let (class, members) = lists[list];
        let mut member = 0;
        while member < members.len() {
            table[members[member] as usize] |= class.0;
            member += 1;
        }
        list += 1;
    }
    table
};
