//! The extensible priority of a stream (RFC 9218 section 4).

/// Urgency and whether pieces of the response are of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priority {
    /// 0, the most urgent, to 7.
    pub(super) urgency: u8,
    /// May be sent in turns with others.
    pub(super) incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// Reads a `Priority` field value. What is not understood is ignored, as RFC 9218 section 4 asks: a wrong
    /// type or range leaves the default. Only the two parameters we use are looked at; members in inner lists
    /// or strings that look like them would have to be made on purpose, and harm nobody but their client.
    pub(super) fn parse(value: &[u8]) -> Self {
        let mut priority = Self::default();
        priority.apply(value);
        priority
    }

    /// Reads one line of a field that may have several.
    pub(super) fn apply(&mut self, value: &[u8]) {
        for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let item = member.split(|&byte| byte == b';').next().unwrap_or_default();
            match item.trim_ascii_end() {
                [b'u', b'=', digit @ b'0'..=b'7'] => self.urgency = digit - b'0',
                b"i" | b"i=?1" => self.incremental = true,
                b"i=?0" => self.incremental = false,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_and_incremental_are_read_and_the_rest_is_ignored() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=1", 1, true),
            ("u=5;x=1, i=?0", 5, false),
            ("u=8", 3, false),
            ("u=-1, i=1", 3, false),
            ("u=33, a=b, i=?1", 3, true),
            ("\u{ff}, u", 3, false),
        ] {
            let priority = Priority::parse(value.as_bytes());
            assert_eq!(
                (priority.urgency, priority.incremental),
                (urgency, incremental),
                "{value}"
            );
        }
    }
}
