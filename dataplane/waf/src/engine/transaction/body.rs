//! The request's body: what its processor makes of it.

use super::lists::List;
use super::{Transaction, Val};
use crate::body::{self, BodyError, Limits, MultipartFlags};
use crate::engine::Intervention;
use crate::seclang::{BodyProcessor, Phase, Variable};

impl Transaction {
    /// The body, whole or as much as is inspected; `truncated` when there is more. Runs phase 2; call it with nothing for a
    /// request without body.
    pub fn run_request_body(&mut self, body: &[u8], truncated: bool) -> Option<Intervention> {
        if !self.is_over(Phase::RequestBody) {
            self.read_body(body, truncated);
        }
        self.run(Phase::RequestBody)
    }

    fn read_body(&mut self, body: &[u8], truncated: bool) {
        self.set_int(Variable::RequestBodyLength, body.len() as i64);
        self.set_int(Variable::InboundDataError, i64::from(truncated));
        self.set_flags(&MultipartFlags::default());
        self.set_int(Variable::FilesCombinedSize, 0);
        // A rule may have asked for it before there was a body.
        self.set_val(Variable::FullRequest, Val::Unset);
        self.set_val(Variable::FullRequestLength, Val::Unset);
        if body.is_empty() {
            return;
        }
        let bound = self.program();
        let settings = &bound.program().settings;
        let limits = Limits {
            items: settings.arguments,
            depth: settings.json_depth,
        };
        let mut show = self.state.force_body;
        let mut error = None;
        match self.state.processor {
            // Nothing takes it apart: it is seen whole.
            None => show = true,
            Some(BodyProcessor::Urlencoded) => {
                // Shown as the value that its arguments are of.
                let body = if truncated { without_cut_escape(body) } else { body };
                let raw = self.values.push(body);
                self.set_val(Variable::RequestBody, Val::Id(raw));
                show = false;
                self.arguments(List::ArgsPost, raw, body);
            }
            Some(BodyProcessor::Json) => {
                // As libmodsecurity 3 does; rules look for names of JSON in it.
                show = true;
                let arguments = body::json(body, limits);
                for (name, value) in &arguments.pairs {
                    self.argument(List::ArgsPost, name, value);
                }
                error = arguments.error;
            }
            Some(BodyProcessor::Xml) => {
                let xml = body::xml(body, limits);
                let name = self.values.push(b"");
                let text = self.values.push(&xml.text);
                self.lists.push(List::XmlText, name, text);
                for attribute in &xml.attributes {
                    let value = self.values.push(attribute);
                    self.lists.push(List::XmlAttributes, name, value);
                }
                // What was not taken apart is seen whole.
                show |= xml.error.is_some() || xml.doctype;
                error = xml.error;
            }
            Some(BodyProcessor::Multipart) => {
                error = self.read_multipart(body, limits);
                show |= error.is_some();
            }
        }
        if show {
            self.set(Variable::RequestBody, body);
        }
        // That it was cut off is no fault of the body, and is said in INBOUND_DATA_ERROR.
        if let Some(BodyError { message, .. }) = error.filter(|error| !truncated || !error.at_end) {
            for variable in [Variable::ReqbodyError, Variable::ReqbodyProcessorError] {
                self.set_int(variable, 1);
            }
            self.set(Variable::ReqbodyErrorMsg, message.as_bytes());
            self.set(Variable::ReqbodyProcessorErrorMsg, message.as_bytes());
        }
    }

    fn read_multipart(&mut self, body: &[u8], limits: Limits) -> Option<BodyError> {
        let content_type = self.state.content_type.map_or(&[][..], |id| self.values.get(id));
        let multipart = body::multipart(content_type, body, limits);
        self.set_flags(&multipart.flags);
        let mut files = 0_i64;
        for part in &multipart.parts {
            let name = self.values.push(&part.name);
            self.lists.push(List::PartNames, name, name);
            for header in &part.headers {
                let line = self.values.push(header);
                self.lists.push(List::PartHeaders, name, line);
            }
            // Rules see each name that the file may get.
            for filename in part.filename.iter().chain(&part.extended_filename) {
                let filename = self.values.push(filename);
                self.lists.push(List::Files, name, filename);
                self.lists.push(List::PartFilenames, name, filename);
            }
            if part.filename.is_none() {
                self.argument(List::ArgsPost, &part.name, part.content);
                continue;
            }
            let size = self.values.push(part.content.len().to_string().as_bytes());
            self.lists.push(List::FilesSizes, name, size);
            files += part.content.len() as i64;
            if self.bound.program().reads_files {
                let content = self.values.push(part.content);
                self.lists.push(List::FilesContent, name, content);
            }
        }
        self.set_int(Variable::FilesCombinedSize, files);
        multipart.error
    }

    fn set_flags(&mut self, flags: &MultipartFlags) {
        let all = [
            (Variable::MultipartBoundaryQuoted, flags.boundary_quoted),
            (Variable::MultipartBoundaryWhitespace, flags.boundary_whitespace),
            (Variable::MultipartCrlfLfLines, flags.crlf_lf_lines),
            (Variable::MultipartDataAfter, flags.data_after),
            (Variable::MultipartDataBefore, flags.data_before),
            (Variable::MultipartFileLimitExceeded, flags.file_limit_exceeded),
            (Variable::MultipartHeaderFolding, flags.header_folding),
            (Variable::MultipartInvalidHeaderFolding, flags.invalid_header_folding),
            (Variable::MultipartInvalidPart, flags.invalid_part),
            (Variable::MultipartInvalidQuoting, flags.invalid_quoting),
            (Variable::MultipartLfLine, flags.lf_line),
            (Variable::MultipartMissingSemicolon, flags.missing_semicolon),
        ];
        for (variable, on) in all {
            self.set_int(variable, i64::from(on));
        }
        self.set_int(
            Variable::MultipartUnmatchedBoundary,
            i64::from(flags.unmatched_boundary),
        );
        self.set_int(Variable::MultipartStrictError, i64::from(flags.is_strict_error()));
    }
}

/// A form's beginning without the part of an escape that it was cut in.
fn without_cut_escape(body: &[u8]) -> &[u8] {
    match body {
        [rest @ .., b'%'] => rest,
        [rest @ .., b'%', digit] if digit.is_ascii_hexdigit() => rest,
        _ => body,
    }
}
