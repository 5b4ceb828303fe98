//! Frames, one after the other, until one of them is an event.

use super::block::Block;
use super::{Connection, Event, PREFACE, Phase};
use crate::http2::error::ConnectionError as Error;
use crate::http2::frame::{self, Frame, HEADER, MAX_FRAME};

/// Where [`Connection::advance`] stopped.
#[expect(clippy::large_enum_variant, reason = "never kept: it becomes the event at once")]
pub(super) enum Step<'i> {
    /// At the end of what there is.
    More,
    /// At an event that needs nothing else.
    Event(Event<'i>),
    /// At a complete header block that somebody wants.
    Block(Block<'i>),
}

impl Connection {
    pub(super) fn advance<'i>(
        &mut self,
        input: &mut &'i [u8],
        strings: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Step<'i>, Error> {
        if let Phase::Preface(seen) = self.phase
            && !self.read_preface(seen, input)?
        {
            return Ok(Step::More);
        }
        loop {
            if self.data.is_some() {
                if let Some(event) = self.read_data(input) {
                    return Ok(Step::Event(event));
                }
                if self.data.is_some() {
                    return Ok(Step::More);
                }
            }
            let Some(frame) = Frame::parse(input) else {
                return Ok(Step::More);
            };
            self.check_place(&frame)?;
            if frame.kind == frame::DATA {
                match self.begin_data(&frame, input, out)? {
                    Some(Step::More) => return Ok(Step::More),
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            let Some(payload) = input.get(HEADER..HEADER + frame.len) else {
                return Ok(Step::More);
            };
            *input = input.get(HEADER + frame.len..).unwrap_or_default();
            if matches!(frame.kind, frame::HEADERS | frame::CONTINUATION) {
                let block = match frame.kind {
                    frame::HEADERS => self.begin_block(&frame, payload)?,
                    _ => self.continue_block(&frame, payload)?,
                };
                if let Some(block) = block
                    && let Some(step) = self.place_block(block, strings, out)?
                {
                    return Ok(step);
                }
            } else if let Some(event) = self.control_frame(&frame, payload, out)? {
                return Ok(Step::Event(event));
            }
        }
    }

    /// False: more of it has to come.
    fn read_preface(&mut self, seen: u8, input: &mut &[u8]) -> Result<bool, Error> {
        let expected = PREFACE.get(usize::from(seen)..).unwrap_or_default();
        let here = input.len().min(expected.len());
        let (got, rest) = input.split_at_checked(here).unwrap_or_default();
        if !expected.starts_with(got) {
            return Err(Error::Preface);
        }
        *input = rest;
        let complete = here == expected.len();
        self.phase = if complete {
            Phase::Settings
        } else {
            Phase::Preface(seen + here as u8)
        };
        Ok(complete)
    }

    /// What can be said about a frame before its payload is here.
    fn check_place(&mut self, frame: &Frame) -> Result<(), Error> {
        if self.phase == Phase::Settings {
            if frame.kind != frame::SETTINGS || frame.has(frame::ACK) {
                return Err(Error::Preface);
            }
            self.phase = Phase::Open;
        }
        if frame.len > MAX_FRAME {
            return Err(Error::FrameSize);
        }
        match &self.block {
            Some(block) if frame.kind != frame::CONTINUATION || frame.stream != block.stream => Err(Error::Protocol),
            None if frame.kind == frame::CONTINUATION => Err(Error::Protocol),
            _ => Ok(()),
        }
    }
}
