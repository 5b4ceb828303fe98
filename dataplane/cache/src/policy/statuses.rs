//! What is known of status codes, as far as caching goes: one table, with the RFC that says so.

/// What a status is to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Understood, and fresh for as long as can be guessed where nothing says for how long ("heuristically cacheable", RFC
    /// 9110 section 15.1).
    Heuristic,
    /// Understood (RFC 9111 section 5.2.2.3), and stored where something says for how long.
    Explicit,
    /// Never stored, unless a rule of the site names it with a lifetime: an RFC forbids it, or it is for one client.
    Never,
    /// Not understood: `must-understand` keeps it from being stored, all else does not.
    No,
}

/// Everything that is known. What is not in it is [`Known::No`].
const TABLE: [(u16, Known); 48] = [
    // RFC 9110 section 15.3.
    (200, Known::Heuristic),
    (201, Known::Explicit),
    (202, Known::Explicit),
    (203, Known::Heuristic),
    (204, Known::Heuristic),
    (205, Known::Explicit),
    (206, Known::Heuristic),
    // Section 15.4. 304 is no response to store; 306 is no status any more.
    (300, Known::Heuristic),
    (301, Known::Heuristic),
    (302, Known::Explicit),
    (303, Known::Explicit),
    (305, Known::Explicit),
    (307, Known::Explicit),
    (308, Known::Heuristic),
    // Section 15.5.
    (400, Known::Explicit),
    (401, Known::Explicit),
    (402, Known::Explicit),
    (403, Known::Explicit),
    (404, Known::Heuristic),
    (405, Known::Heuristic),
    (406, Known::Explicit),
    (407, Known::Explicit),
    (408, Known::Explicit),
    (409, Known::Explicit),
    (410, Known::Heuristic),
    (411, Known::Explicit),
    (412, Known::Explicit),
    (413, Known::Explicit),
    (414, Known::Heuristic),
    (415, Known::Explicit),
    (416, Known::Explicit),
    (417, Known::Explicit),
    // RFC 7540 section 9.1.2 let it be guessed; RFC 9110 section 15.5.20, which replaces that, does not.
    (421, Known::Explicit),
    (422, Known::Explicit),
    // RFC 8470 section 5.2: not cacheable by default.
    (425, Known::Explicit),
    (426, Known::Explicit),
    // RFC 6585 sections 3, 4, 5: "MUST NOT be stored by a cache".
    (428, Known::Never),
    (429, Known::Never),
    (431, Known::Never),
    // RFC 7725 section 3: cacheable by default.
    (451, Known::Heuristic),
    // RFC 9110 section 15.6.
    (500, Known::Explicit),
    (501, Known::Heuristic),
    (502, Known::Explicit),
    (503, Known::Explicit),
    (504, Known::Explicit),
    (505, Known::Explicit),
    // RFC 6585 section 6, as 428.
    (511, Known::Never),
    // RFC 3229 section 10.4.1: a change to what one client has, of no use to who has something else.
    (226, Known::Never),
];

/// What is known of a status.
pub fn of(status: u16) -> Known {
    let known = TABLE.iter().find(|(other, _)| *other == status);
    known.map_or(Known::No, |(_, known)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_guessed_is_what_the_rfcs_list() {
        let guessed: Vec<_> = (100..600).filter(|status| of(*status) == Known::Heuristic).collect();
        // RFC 9110 section 15.1, and 451.
        let listed = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 451, 501];
        assert_eq!(guessed, listed);
    }

    #[test]
    fn each_status_is_in_the_table_once() {
        let all: std::collections::BTreeSet<_> = TABLE.iter().map(|(status, _)| status).collect();
        assert_eq!(all.len(), TABLE.len());
        assert_eq!((of(299), of(499), of(599)), (Known::No, Known::No, Known::No));
    }
}
