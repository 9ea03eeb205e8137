//! Whole lines out of a stream that comes in pieces, each with a name before it.

/// A longer line is told in several, so that what never ends one is not kept without a bound.
const LINE_MAX: usize = 64 << 10;

/// What has come of a stream.
pub struct Lines {
    prefix: Vec<u8>,
    /// The beginning of a line.
    open: Vec<u8>,
}

impl Lines {
    pub fn new(name: &str) -> Self {
        Self { prefix: format!("{name}: ").into_bytes(), open: Vec::new() }
    }

    /// Takes a piece; the lines that are complete with it, each under its name.
    pub fn push(&mut self, mut piece: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        while !piece.is_empty() {
            let room = LINE_MAX - self.open.len();
            let end = piece.iter().take(room).position(|&byte| byte == b'\n').map(|at| at + 1);
            let (part, rest) = piece.split_at(end.unwrap_or_else(|| room.min(piece.len())));
            self.open.extend_from_slice(part);
            if end.is_some() || self.open.len() == LINE_MAX {
                self.close(&mut lines);
            }
            piece = rest;
        }
        lines
    }

    /// The last line, where it had no end.
    pub fn finish(mut self) -> Vec<u8> {
        let mut lines = Vec::new();
        if !self.open.is_empty() {
            self.close(&mut lines);
        }
        lines
    }

    fn close(&mut self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(&self.prefix);
        lines.append(&mut self.open);
        if lines.last() != Some(&b'\n') {
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_when_it_is_whole_wherever_it_was_cut() {
        let text = b"one\n\ntwo\r\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::new("box");
            let mut told: Vec<u8> = text.chunks(size).flat_map(|piece| lines.push(piece)).collect();
            assert_eq!(told, b"box: one\nbox: \nbox: two\r\n");
            told.extend(lines.finish());
            assert_eq!(told, b"box: one\nbox: \nbox: two\r\nbox: three\n");
        }
        assert!(Lines::new("box").finish().is_empty());
    }

    #[test]
    fn a_line_without_an_end_is_told_in_parts() {
        let mut lines = Lines::new("a");
        let told = lines.push(&vec![b'x'; 2 * LINE_MAX + 1]);
        let rows: Vec<usize> = told.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(rows, [LINE_MAX + 4, LINE_MAX + 4]);
        assert_eq!(lines.finish(), b"a: x\n");
    }

    #[test]
    fn a_line_that_fills_its_room_with_its_end_is_one() {
        let mut lines = Lines::new("a");
        let told = lines.push(&[vec![b'x'; LINE_MAX - 1], b"\ny\n".to_vec()].concat());
        assert_eq!(told.split(|&byte| byte == b'\n').count(), 3);
    }
}
