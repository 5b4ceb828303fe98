//! The response: its head and its body.

use super::lists::List;
use super::{Limit, Transaction, Val};
use crate::engine::Intervention;
use crate::seclang::{Phase, Variable};

/// Most fields that rules see.
const FIELDS: usize = 1000;

/// Media types whose bodies rules read where `SecResponseBodyMimeType` says nothing.
const TYPES: &[&str] = &["text/plain", "text/html", "text/xml", "application/json"];

impl Transaction {
    /// The response head. Runs phase 3.
    pub fn run_response_headers<'h>(
        &mut self,
        status: u16,
        fields: &mut dyn Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Option<Intervention> {
        self.set_int(Variable::ResponseStatus, i64::from(status));
        self.set(Variable::ResponseProtocol, b"HTTP/1.1");
        self.set(Variable::StatusLine, format!("HTTP/1.1 {status}").as_bytes());
        self.set_int(Variable::ResponseContentLength, 0);
        for (name, value) in (&mut *fields).take(FIELDS) {
            let name_id = self.values.push(name);
            let value_id = self.values.push(value);
            self.lists.push(List::ResponseHeaders, name_id, value_id);
            if name.eq_ignore_ascii_case(b"content-type") {
                self.state.response_type = Some(value_id);
                self.set_val(Variable::ResponseContentType, Val::Id(value_id));
            } else if name.eq_ignore_ascii_case(b"content-length") {
                self.set_val(Variable::ResponseContentLength, Val::Id(value_id));
            }
        }
        if fields.next().is_some() {
            self.reached(Limit::Fields);
        }
        self.run(Phase::ResponseHeaders)
    }

    /// The response's body, as [`Transaction::run_request_body`]. Runs phase 4.
    pub fn run_response_body(&mut self, body: &[u8], truncated: bool) -> Option<Intervention> {
        if !body.is_empty() && !self.is_over(Phase::ResponseBody) {
            self.set(Variable::ResponseBody, body);
            self.set_int(Variable::ResponseContentLength, body.len() as i64);
        }
        self.set_int(Variable::OutboundDataError, i64::from(truncated));
        self.run(Phase::ResponseBody)
    }

    /// Whether rules read bodies of the response's media type.
    pub(super) fn response_type_is_read(&self) -> bool {
        let Some(id) = self.state.response_type else {
            return false;
        };
        let value = self.values.get(id);
        let end = value
            .iter()
            .position(|byte| matches!(byte, b';' | b' '))
            .unwrap_or(value.len());
        let media = value.get(..end).unwrap_or_default();
        let wanted = &self.bound.program().settings.response_types;
        if wanted.is_empty() {
            TYPES.iter().any(|kind| media.eq_ignore_ascii_case(kind.as_bytes()))
        } else {
            wanted.iter().any(|kind| media.eq_ignore_ascii_case(kind.as_bytes()))
        }
    }
}
