//! The collections of a request and a response: names and values, in order.

use crate::engine::values::ValueId;
use crate::seclang::Variable;

/// A named value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) name: ValueId,
    pub(super) value: ValueId,
}

/// The lists that collections are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    ArgsGet,
    ArgsPost,
    RequestHeaders,
    Cookies,
    Files,
    FilesSizes,
    FilesContent,
    PartHeaders,
    PartNames,
    PartFilenames,
    ResponseHeaders,
    XmlText,
    XmlAttributes,
    Geo,
}

const LISTS: usize = 14;

/// All lists of a transaction.
#[derive(Debug, Default)]
pub(super) struct Lists([Vec<Item>; LISTS]);

impl Lists {
    pub(super) fn get(&self, list: List) -> &[Item] {
        self.0.get(list as usize).map_or(&[], Vec::as_slice)
    }

    /// All items, to be given new ids.
    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.0.iter_mut().flatten()
    }

    /// About how many bytes they take.
    pub(super) fn memory(&self) -> usize {
        self.0.iter().map(|items| items.capacity() * size_of::<Item>()).sum()
    }

    pub(super) fn clear(&mut self, list: List) {
        if let Some(items) = self.0.get_mut(list as usize) {
            items.clear();
        }
    }

    pub(super) fn push(&mut self, list: List, name: ValueId, value: ValueId) {
        if let Some(items) = self.0.get_mut(list as usize) {
            items.push(Item { name, value });
        }
    }
}

/// The lists of a collection, and whether their names are meant rather than their values.
pub(super) fn of(variable: Variable) -> Option<(&'static [List], bool)> {
    Some(match variable {
        Variable::Args => (&[List::ArgsGet, List::ArgsPost], false),
        Variable::ArgsNames => (&[List::ArgsGet, List::ArgsPost], true),
        Variable::ArgsGet => (&[List::ArgsGet], false),
        Variable::ArgsGetNames => (&[List::ArgsGet], true),
        Variable::ArgsPost => (&[List::ArgsPost], false),
        Variable::ArgsPostNames => (&[List::ArgsPost], true),
        Variable::RequestHeaders => (&[List::RequestHeaders], false),
        Variable::RequestHeadersNames => (&[List::RequestHeaders], true),
        Variable::RequestCookies => (&[List::Cookies], false),
        Variable::RequestCookiesNames => (&[List::Cookies], true),
        Variable::Files => (&[List::Files], false),
        Variable::FilesNames => (&[List::Files], true),
        Variable::FilesSizes => (&[List::FilesSizes], false),
        Variable::FilesTmpContent => (&[List::FilesContent], false),
        Variable::MultipartPartHeaders => (&[List::PartHeaders], false),
        Variable::MultipartName => (&[List::PartNames], false),
        Variable::MultipartFilename => (&[List::PartFilenames], false),
        Variable::ResponseHeaders => (&[List::ResponseHeaders], false),
        Variable::ResponseHeadersNames => (&[List::ResponseHeaders], true),
        Variable::Geo => (&[List::Geo], false),
        _ => return None,
    })
}
