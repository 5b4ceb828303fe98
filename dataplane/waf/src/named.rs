//! Enums of SecLang's names: one table for each, so that a name, its value and the list of all agree.

/// An enum whose values have SecLang names, found without regard to case; behind the name are other spellings that are
/// known too.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        pub enum $type:ident {
            $( $(#[$inner:meta])* $value:ident = $name:literal $( | $other:literal )*, )+
        }
    ) => {
        $(#[$attribute])*
        pub enum $type {
            $( $(#[$inner])* $value, )+
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[ $( Self::$value, )+ ];

            /// The SecLang name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$value => $name, )+ }
            }

            /// By its SecLang name, without regard to case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $( if [$name $(, $other)*].iter().any(|known| known.eq_ignore_ascii_case(name)) {
                    return Some(Self::$value);
                } )+
                None
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use named;
