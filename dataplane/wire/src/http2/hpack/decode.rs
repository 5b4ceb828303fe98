//! Header blocks into fields (RFC 7541 sections 3.2 and 6).

use super::table::{MAX_SIZE, Table};
use super::{HpackError, huffman, integer, static_table};
use crate::http2::field::Class;

/// Takes the fields of a block in order.
pub(in crate::http2) trait Sink {
    /// One field. The slices are gone after the call.
    fn field(&mut self, name: &[u8], value: &[u8], class: Class);
}

/// The receiving half of a connection's header compression.
#[derive(Debug, Default)]
pub(in crate::http2) struct Decoder {
    table: Table,
}

impl Decoder {
    /// Decodes a whole block. `strings` is scratch.
    ///
    /// # Errors
    /// After any the table is in doubt: the connection is over.
    pub(in crate::http2) fn decode(
        &mut self,
        mut block: &[u8],
        strings: &mut Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<(), HpackError> {
        let mut updates = 0;
        while let Some(&first) = block.first()
            && first & 0xe0 == 0x20
        {
            let limit = integer::read(&mut block, 5)? as usize;
            updates += 1;
            if limit > MAX_SIZE || updates > 2 {
                return Err(HpackError::SizeUpdate);
            }
            self.table.set_limit(limit);
        }
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer::read(&mut block, 7)?;
                self.indexed(index, sink)?;
            } else if first & 0xe0 == 0x20 {
                return Err(HpackError::SizeUpdate);
            } else {
                self.literal(&mut block, first & 0x40 != 0, strings, sink)?;
            }
        }
        Ok(())
    }

    /// Bytes of heap.
    pub(in crate::http2) fn heap(&self) -> usize {
        self.table.heap()
    }

    fn indexed(&self, index: u32, sink: &mut impl Sink) -> Result<(), HpackError> {
        if let Some((name, value)) = static_table::get(index) {
            let class = Class::of_static(index, value.as_bytes());
            sink.field(name.as_bytes(), value.as_bytes(), class);
        } else {
            let (name, value, class) = self.dynamic(index)?;
            sink.field(name, value, class);
        }
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        keep: bool,
        strings: &mut Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<(), HpackError> {
        let index = integer::read(block, if keep { 6 } else { 4 })?;
        strings.clear();
        let known = static_table::get(index).map(|(name, _)| name.as_bytes());
        let literal_name = match known {
            Some(_) => &[][..],
            None if index == 0 => string(block, strings)?,
            None => {
                strings.extend_from_slice(self.dynamic(index)?.0);
                &[]
            }
        };
        let name_len = strings.len();
        let literal_value = string(block, strings)?;
        let (decoded_name, decoded_value) = strings.split_at_checked(name_len).unwrap_or_default();
        // What was not Huffman coded stands in the block.
        let pick = |literal, decoded| if <[u8]>::is_empty(literal) { decoded } else { literal };
        let name = known.unwrap_or_else(|| pick(literal_name, decoded_name));
        let value = pick(literal_value, decoded_value);
        let class = match known {
            Some(_) => Class::of_static(index, value),
            None => Class::of(name, value),
        };
        sink.field(name, value, class);
        if keep {
            self.table.insert(name, value, class);
        }
        Ok(())
    }

    fn dynamic(&self, index: u32) -> Result<(&[u8], &[u8], Class), HpackError> {
        let place = (index as usize)
            .checked_sub(static_table::STATIC.len() + 1)
            .ok_or(HpackError::Index)?;
        self.table.get(place).ok_or(HpackError::Index)
    }
}

/// Reads a string: a slice of the block, or nothing and the decoded bytes behind `strings`.
fn string<'b>(block: &mut &'b [u8], strings: &mut Vec<u8>) -> Result<&'b [u8], HpackError> {
    let coded = block.first().ok_or(HpackError::Truncated)? & 0x80 != 0;
    let len = integer::read(block, 7)? as usize;
    let (bytes, rest) = block.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *block = rest;
    if coded {
        huffman::decode(bytes, strings)?;
        return Ok(&[]);
    }
    Ok(bytes)
}
