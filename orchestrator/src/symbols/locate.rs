//! Addresses as a reader of the source wants them.

use crate::journal::interleaving::Frame;

use super::Symbols;

impl Symbols {
    /// The functions around an address, the innermost inlined one first, with the line that each is at. One frame without
    /// a file where there is no debug information, none where there is no symbol either.
    pub fn locate(&self, address: u64) -> Vec<Frame> {
        self.frames_at(address, address)
    }

    /// A stack as [`Symbols::unwind`] gives it: the first address as it is, each further one as the call before it.
    pub fn stack(&self, addresses: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            // Behind a call that does not return, another line or even another function begins.
            let called_from = if index == 0 { *address } else { address.saturating_sub(1) };
            frames.extend(self.frames_at(*address, called_from));
        }
        frames
    }

    fn frames_at(&self, address: u64, looked_up: u64) -> Vec<Frame> {
        let symbol = self.table.around(looked_up);
        let unit = self.units().ok().and_then(|units| units.at(looked_up));
        let tree = unit.and_then(|unit| self.tree(unit).ok());
        let lines = unit.and_then(|unit| self.lines(unit).ok());
        let (mut file, mut line) = match lines.as_ref().and_then(|lines| lines.at(looked_up)) {
            Some((file, line)) => (Some(file.to_string()), line),
            None => (None, None),
        };
        let mut frames = Vec::new();
        for scope in tree.iter().flat_map(|tree| tree.around(looked_up)) {
            let Some(inlined) = &scope.inlined else { continue };
            frames.push(Frame { address, function: scope.declared.name.to_string(), offset: None, file, line });
            file = inlined.file.as_ref().map(ToString::to_string);
            line = inlined.line;
        }
        if let Some(symbol) = symbol {
            let (function, offset) = (symbol.name.clone(), Some(address - symbol.address));
            frames.push(Frame { address, function, offset, file, line });
        }
        frames
    }
}
