//! Plain text, in parts that end where a line does.

use std::io::{BufRead, Read};

use super::{OnRow, Row};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a part. A tokenizer takes some hundred bytes of memory for each byte of text, and the tokens around
/// the border between two parts may be others than without it: large enough that this does not matter.
const PART: usize = 1 << 20;

/// The parts of a text, in order; the last one ends it.
pub(super) fn passages(mut reader: impl BufRead, on_row: &mut OnRow<'_>) -> Result<()> {
    let failed = |error| Error::io("the text", &error);
    let mut rest: Vec<u8> = Vec::new();
    let mut offset = 0;
    for number in 1.. {
        let wanted = PART.saturating_sub(rest.len());
        reader.by_ref().take(wanted as u64).read_to_end(&mut rest).map_err(failed)?;
        let ends = rest.len() < PART || reader.fill_buf().map_err(failed)?.is_empty();
        let border = match ends {
            true => rest.len(),
            false => border(&rest),
        };
        let after = rest.split_off(border);
        let text = String::from_utf8(std::mem::replace(&mut rest, after)).map_err(|error| {
            let at = offset + error.utf8_error().valid_up_to() + 1;
            Error::new(ErrorKind::Data, format!("no UTF-8 from byte {at} on; save the text as UTF-8"))
        })?;
        offset += border;
        let is_blank = text.trim().is_empty();
        if (!is_blank && on_row(number, Ok(Row::Passage { text, ends }))?.is_break()) || ends {
            break;
        }
    }
    Ok(())
}

/// Where to cut: behind the last line break, or else before the last character, which may be incomplete.
fn border(bytes: &[u8]) -> usize {
    let line_break = bytes.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
    line_break
        .or_else(|| bytes.iter().rposition(|&byte| byte & 0xC0 != 0x80))
        .filter(|&at| at > 0)
        .unwrap_or(bytes.len())
}
