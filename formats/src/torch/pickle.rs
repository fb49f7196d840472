//! The pickle machine. It builds plain values and the few things that tensors are made of, and refuses all else.

use std::collections::HashMap;

use super::What;
use super::node::{Global, Id, MAX_DIMS, Node, Storage, Tensor, global};

/// The first instruction of every binary pickle.
pub(super) const PROTO: u8 = 0x80;

/// A machine that has run to its end.
pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    /// Every value ever made. Instructions make one at most, so this is bounded by the program's length.
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Machine<'a> {
        Machine { program, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Bytes of the program that have been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id]
    }

    /// Runs the program and gives back its result.
    pub(super) fn run(&mut self) -> Result<Id, What> {
        loop {
            let [opcode] = self.fixed()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), What> {
        match opcode {
            PROTO => drop(self.fixed::<1>()?),
            // A frame only tells how much to read at once.
            0x95 => drop(self.fixed::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'N' | 0x88 | 0x89 => self.push(Node::Other),
            b'G' => {
                self.fixed::<8>()?;
                self.push(Node::Other);
            }
            b'K' => {
                let [v] = self.fixed()?;
                self.push(Node::Int(v.into()));
            }
            b'M' => {
                let v = u16::from_le_bytes(self.fixed()?);
                self.push(Node::Int(v.into()));
            }
            b'J' => {
                let v = i32::from_le_bytes(self.fixed()?);
                self.push(Node::Int(v.into()));
            }
            0x8a => {
                let v = self.long()?;
                self.push(Node::Int(v));
            }
            b'X' => {
                let n = u32::from_le_bytes(self.fixed()?);
                self.string(n.into())?;
            }
            0x8c => {
                let [n] = self.fixed()?;
                self.string(n.into())?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            // Instances of classes of the old kind: the name alone is reason enough.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(What::Refused { name: format!("{module}.{name}") });
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Str(module), Node::Str(name)) = (self.node(module), self.node(name)) else {
                    return Err(What::Arguments { to: "STACK_GLOBAL" });
                };
                self.global(module, name)?;
            }
            b'q' => {
                let [index] = self.fixed()?;
                self.memorize(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.fixed()?);
                self.memorize(index)?;
            }
            0x94 => self.memorize(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.fixed()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.fixed()?);
                self.recall(index)?;
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let n = usize::from(opcode - 0x84);
                let at = self.stack.len().checked_sub(n).ok_or(What::Stack)?;
                let items = self.stack.split_off(at);
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.marked()?;
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set(&items)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            found => return Err(What::Opcode { found }),
        }
        Ok(())
    }

    fn bytes(&mut self, n: u64) -> Result<&'a [u8], What> {
        let end = || What::End { reading: "the pickle" };
        let rest = self.program.get(self.at..).ok_or_else(end)?;
        let taken = usize::try_from(n).ok().and_then(|n| rest.get(..n)).ok_or_else(end)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], What> {
        let taken = self.bytes(N as u64)?.first_chunk().copied();
        taken.ok_or(What::End { reading: "the pickle" })
    }

    fn line(&mut self) -> Result<&'a str, What> {
        let rest = self.program.get(self.at..).unwrap_or(&[]);
        let n = rest.iter().position(|&b| b == b'\n').ok_or(What::End { reading: "a name in the pickle" })?;
        self.at += n + 1;
        std::str::from_utf8(&rest[..n]).map_err(|_| What::Utf8 { reading: "a name in the pickle" })
    }

    fn string(&mut self, n: u64) -> Result<(), What> {
        let text = std::str::from_utf8(self.bytes(n)?).map_err(|_| What::Utf8 { reading: "a string in the pickle" })?;
        self.push(Node::Str(text));
        Ok(())
    }

    /// An integer of up to eight bytes.
    fn long(&mut self) -> Result<i64, What> {
        let [n] = self.fixed()?;
        let bytes = self.bytes(n.into())?;
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide.get_mut(..bytes.len()).ok_or(What::Arguments { to: "LONG1" })?.copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide))
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// Takes the topmost value; what lies under a mark is out of reach.
    fn pop(&mut self) -> Result<Id, What> {
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return Err(What::Stack);
        }
        self.stack.pop().ok_or(What::Stack)
    }

    fn top(&mut self) -> Result<&mut Node<'a>, What> {
        let id = *self.stack.last().ok_or(What::Stack)?;
        Ok(&mut self.nodes[id])
    }

    /// Takes everything down to the last mark.
    fn marked(&mut self) -> Result<Vec<Id>, What> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or(What::Stack)?;
        Ok(self.stack.split_off(mark))
    }

    fn memorize(&mut self, index: u32) -> Result<(), What> {
        let id = *self.stack.last().ok_or(What::Stack)?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), What> {
        let id = *self.memo.get(&index).ok_or(What::Memo { index })?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), What> {
        let found = global(module, name).ok_or_else(|| What::Refused { name: format!("{module}.{name}") })?;
        self.push(Node::Global(found));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), What> {
        let Node::List(list) = self.top()? else { return Err(What::Arguments { to: "APPEND" }) };
        list.extend(items);
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), What> {
        let (pairs, rest) = items.as_chunks::<2>();
        let Node::Dict(dict) = self.top()? else { return Err(What::Arguments { to: "SETITEM" }) };
        dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        if rest.is_empty() { Ok(()) } else { Err(What::Arguments { to: "SETITEMS" }) }
    }

    /// `("storage", class, key, location, elements)` becomes a storage.
    fn storage(&mut self) -> Result<(), What> {
        let refuse = || What::Arguments { to: "a persistent id" };
        let id = self.pop()?;
        let Node::Tuple(items) = self.node(id) else { return Err(refuse()) };
        let &[kind, class, key, _location, _elements] = &items[..] else { return Err(refuse()) };
        let (Node::Str("storage"), Node::Global(class), Node::Str(key)) =
            (self.node(kind), self.node(class), self.node(key))
        else {
            return Err(refuse());
        };
        let dtype = match class {
            Global::Storage(dtype) => Some(*dtype),
            Global::UntypedStorage => None,
            _ => return Err(refuse()),
        };
        let key = *key;
        self.push(Node::Storage(Storage { dtype, key }));
        Ok(())
    }

    /// The only calls that there are.
    fn reduce(&mut self) -> Result<(), What> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let (Node::Global(callee), Node::Tuple(arguments)) = (self.node(callee), self.node(arguments)) else {
            return Err(What::Arguments { to: "REDUCE" });
        };
        let made = match (callee, &arguments[..]) {
            (Global::OrderedDict, []) => Node::Dict(Vec::new()),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                Node::Tensor(self.tensor(storage, offset, shape, strides, None)?)
            }
            (Global::RebuildTensorTyped, &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                Node::Tensor(self.tensor(storage, offset, shape, strides, Some(dtype))?)
            }
            (Global::RebuildParameter, &[tensor, ..]) => match self.node(tensor) {
                Node::Tensor(tensor) => Node::Tensor(tensor.clone()),
                _ => return Err(What::Arguments { to: "_rebuild_parameter" }),
            },
            _ => return Err(What::Arguments { to: "REDUCE" }),
        };
        self.push(made);
        Ok(())
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id, dtype: Option<Id>) -> Result<Tensor<'a>, What> {
        let refuse = || What::Arguments { to: "_rebuild_tensor" };
        let (Node::Storage(storage), &Node::Int(offset)) = (self.node(storage), self.node(offset)) else {
            return Err(refuse());
        };
        let dtype = match (storage.dtype, dtype.map(|id| self.node(id))) {
            (_, Some(Node::Global(Global::Type(dtype)))) => *dtype,
            (Some(dtype), None) => dtype,
            _ => return Err(refuse()),
        };
        let shape = self.ints(shape).ok_or_else(refuse)?;
        let shape: Option<Vec<usize>> = shape.into_iter().map(|d| usize::try_from(d).ok()).collect();
        Ok(Tensor {
            key: storage.key,
            dtype,
            offset: offset.try_into().map_err(|_| refuse())?,
            shape: shape.ok_or_else(refuse)?,
            strides: self.ints(strides).ok_or_else(refuse)?,
        })
    }

    fn ints(&self, id: Id) -> Option<Vec<i64>> {
        let Node::Tuple(items) = self.node(id) else { return None };
        if items.len() > MAX_DIMS {
            return None;
        }
        items.iter().map(|&item| if let Node::Int(v) = self.node(item) { Some(*v) } else { None }).collect()
    }

    /// State of a dict (PyTorch's `_metadata`) is dropped; nothing else has any.
    fn build(&mut self) -> Result<(), What> {
        self.pop()?;
        match self.top()? {
            Node::Dict(_) => Ok(()),
            _ => Err(What::Arguments { to: "BUILD" }),
        }
    }
}
