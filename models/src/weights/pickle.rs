//! The pickles in PyTorch's checkpoints, read as data.
//!
//! A pickle is a program for a small stack machine whose instructions can call any Python function.
//! Here nothing is called: the few functions from which a state dict is built are recognised by
//! name, and every other one gives an opaque value, so a checkpoint with optimiser state, arguments
//! or worse beside its tensors is read without harm. Values refer to each other by number into one
//! list, so that nesting without end costs no stack and cycles are no trouble.
//!
//! Source: Python's `pickletools` describes the instructions; `torch/serialization.py` and
//! `torch/_utils.py` what PyTorch makes of them.

use std::{collections::BTreeMap, rc::Rc};

use super::{Element, PickleError};

/// A tensor as the pickle describes it; sizes in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) element: Element,
    /// The member of the archive that holds it.
    pub(super) storage: String,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A list of names, and how many bytes it takes.
pub(super) fn names(pickle: &[u8]) -> Result<(Vec<String>, usize), PickleError> {
    let mut machine = Machine { pickle, ..Machine::default() };
    let mut names = Vec::new();
    if let Value::Node(at) = machine.run()?
        && let Node::Sequence(items) = &machine.nodes[at]
    {
        names.extend(items.iter().filter_map(|item| match item {
            Value::Text(name) => Some(name.to_string()),
            _ => None,
        }));
    }
    Ok((names, machine.at))
}

/// The tensors of a state dict, and how many bytes the pickle takes; also of one under `state_dict` or
/// `model` in a larger dictionary.
pub(super) fn state_dict(pickle: &[u8]) -> Result<(BTreeMap<String, Tensor>, usize), PickleError> {
    let mut machine = Machine { pickle, ..Machine::default() };
    let root = machine.run()?;
    let of = |value: &Value| {
        let items = machine.dict(value)?.iter().filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Node(at)) => match &machine.nodes[*at] {
                Node::Tensor(tensor) => Some((name.to_string(), tensor.clone())),
                _ => None,
            },
            _ => None,
        });
        Some(items.collect::<BTreeMap<_, _>>()).filter(|tensors| !tensors.is_empty())
    };
    let inner = || {
        let items = machine.dict(&root)?;
        let under = |wanted: &str| {
            let found =
                items.iter().find(|(key, _)| matches!(key, Value::Text(key) if **key == *wanted));
            found.and_then(|(_, value)| of(value))
        };
        under("state_dict").or_else(|| under("model"))
    };
    let tensors = of(&root).or_else(inner).ok_or(PickleError::NoTensors)?;
    Ok((tensors, machine.at))
}

#[derive(Clone, Debug)]
enum Value {
    None,
    Int(i64),
    Text(Rc<str>),
    /// Something in the list of nodes.
    Node(usize),
    /// Something of no interest.
    Opaque,
}

#[derive(Debug)]
enum Node {
    /// A tuple, or a list: nothing here needs to tell them apart.
    Sequence(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A function or class, as `module.name`.
    Global(String),
    /// Bytes in the archive: what they are, and the member's name.
    Storage(Element, Rc<str>),
    Tensor(Tensor),
}

#[derive(Default)]
struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value>,
    nodes: Vec<Node>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value, PickleError> {
        loop {
            let start = self.at;
            let opcode = self.take::<1>()?[0];
            let damaged = PickleError::Damaged { at: start };
            let is_done = match opcode {
                b'.' => return self.stack.pop().ok_or(damaged),
                b'(' => {
                    self.marks.push(self.stack.len());
                    Some(())
                }
                0x80 => self.take::<1>().map(|_version| Some(()))?,
                0x95 => self.take::<8>().map(|_frame| Some(()))?,
                b'q' | b'h' | b'r' | b'j' | 0x94 => self.memory(opcode)?,
                b't' | 0x85..=0x87 | b')' | b']' | b'l' | b'a' | b'e' => self.sequence(opcode),
                b'}' | b's' | b'u' | b'd' => self.dictionary(opcode),
                b'c' | 0x93 | b'Q' | b'R' | 0x81 | b'b' => self.object(opcode)?,
                _ => match self.scalar(opcode)? {
                    Some(value) => {
                        self.stack.push(value);
                        Some(())
                    }
                    None => return Err(PickleError::Opcode { opcode, at: start }),
                },
            };
            is_done.ok_or(damaged)?;
        }
    }

    /// Numbers, texts and constants; `None` for an unknown instruction.
    fn scalar(&mut self, opcode: u8) -> Result<Option<Value>, PickleError> {
        Ok(Some(match opcode {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Opaque,
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.take()?))),
            b'K' => Value::Int(i64::from(self.take::<1>()?[0])),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.take()?))),
            0x8a => {
                let length = usize::from(self.take::<1>()?[0]);
                let bytes = self.bytes(length)?;
                // Two's complement in as few bytes as it takes.
                let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let mut wide = [sign; 8];
                match wide.get_mut(..length) {
                    Some(low) => {
                        low.copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    None => Value::Opaque,
                }
            }
            b'G' => {
                self.take::<8>()?;
                Value::Opaque
            }
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?
            }
            // Python 2's.
            b'U' => {
                let length = self.take::<1>()?[0];
                self.text(length.into())?
            }
            0x8c => {
                let length = self.take::<1>()?[0];
                self.text(length.into())?
            }
            // Bytes: never a name in a state dict.
            b'B' | b'C' => {
                let length = match opcode {
                    b'B' => u32::from_le_bytes(self.take()?) as usize,
                    _ => self.take::<1>()?[0].into(),
                };
                self.bytes(length)?;
                Value::Opaque
            }
            _ => return Ok(None),
        }))
    }

    /// Remembers the value on top, or brings a remembered one.
    fn memory(&mut self, opcode: u8) -> Result<Option<()>, PickleError> {
        let number = match opcode {
            b'q' | b'h' => u32::from(self.take::<1>()?[0]),
            b'r' | b'j' => u32::from_le_bytes(self.take()?),
            _ => self.memo.len() as u32,
        };
        Ok(if matches!(opcode, b'h' | b'j') {
            self.memo.get(&number).cloned().map(|value| self.stack.push(value))
        } else {
            self.stack.last().cloned().map(|value| drop(self.memo.insert(number, value)))
        })
    }

    fn sequence(&mut self, opcode: u8) -> Option<()> {
        let items = match opcode {
            b')' | b']' => Vec::new(),
            b't' | b'l' => self.since_mark()?,
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(opcode - 0x84))?;
                self.stack.split_off(from)
            }
            _ => {
                let more =
                    if opcode == b'a' { vec![self.stack.pop()?] } else { self.since_mark()? };
                let Value::Node(at) = *self.stack.last()? else { return None };
                let Node::Sequence(items) = &mut self.nodes[at] else { return None };
                items.extend(more);
                return Some(());
            }
        };
        self.push(Node::Sequence(items));
        Some(())
    }

    fn dictionary(&mut self, opcode: u8) -> Option<()> {
        let flat = match opcode {
            b'}' => Vec::new(),
            b's' => {
                let from = self.stack.len().checked_sub(2)?;
                self.stack.split_off(from)
            }
            _ => self.since_mark()?,
        };
        let mut flat = flat.into_iter();
        let mut pairs = Vec::new();
        while let Some(key) = flat.next() {
            pairs.push((key, flat.next()?));
        }
        if matches!(opcode, b'}' | b'd') {
            self.push(Node::Dict(pairs));
            return Some(());
        }
        match self.stack.last()? {
            Value::Node(at) => match &mut self.nodes[*at] {
                Node::Dict(items) => {
                    items.extend(pairs);
                    Some(())
                }
                _ => None,
            },
            // Items for an object that is of no interest.
            Value::Opaque => Some(()),
            _ => None,
        }
    }

    /// Functions, their calls, and what is outside of the pickle.
    fn object(&mut self, opcode: u8) -> Result<Option<()>, PickleError> {
        Ok(match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(format!("{module}.{name}")));
                Some(())
            }
            0x93 => self.stack_global(),
            b'Q' => self.persistent(),
            // The state of an object, such as the `_metadata` of a state dict: of no interest.
            b'b' => self.stack.pop().filter(|_| !self.stack.is_empty()).map(drop),
            _ => self.call(),
        })
    }

    fn stack_global(&mut self) -> Option<()> {
        let (Value::Text(name), Value::Text(module)) = (self.stack.pop()?, self.stack.pop()?)
        else {
            return None;
        };
        self.push(Node::Global(format!("{module}.{name}")));
        Some(())
    }

    /// A reference to a storage: `("storage", type, key, device, elements)`.
    fn persistent(&mut self) -> Option<()> {
        let Value::Node(at) = self.stack.pop()? else { return None };
        let Node::Sequence(items) = &self.nodes[at] else { return None };
        let [Value::Text(kind), Value::Node(class), Value::Text(key), ..] = &items[..] else {
            return None;
        };
        let Node::Global(class) = &self.nodes[*class] else { return None };
        let element = match (&**kind, class.strip_prefix("torch.")?) {
            ("storage", "FloatStorage") => Element::F32,
            ("storage", "HalfStorage") => Element::F16,
            ("storage", "BFloat16Storage") => Element::Bf16,
            ("storage", "DoubleStorage") => Element::F64,
            ("storage", "LongStorage" | "ComplexFloatStorage") => Element::Other(8),
            ("storage", "IntStorage") => Element::Other(4),
            ("storage", "ShortStorage") => Element::Other(2),
            ("storage", "ComplexDoubleStorage") => Element::Other(16),
            ("storage", _) => Element::Other(1),
            _ => return None,
        };
        let key = Rc::clone(key);
        self.push(Node::Storage(element, key));
        Some(())
    }

    fn call(&mut self) -> Option<()> {
        let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
        let made = match (&arguments, &function) {
            (Value::Node(arguments), Value::Node(function)) => {
                match (&self.nodes[*arguments], &self.nodes[*function]) {
                    (Node::Sequence(arguments), Node::Global(name)) => match &**name {
                        "collections.OrderedDict" if arguments.is_empty() => {
                            Some(Node::Dict(Vec::new()))
                        }
                        "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                            Some(Node::Tensor(self.tensor(arguments)?))
                        }
                        // A parameter is its tensor and whether it is trained.
                        "torch._utils._rebuild_parameter" => {
                            self.stack.push(arguments.first()?.clone());
                            return Some(());
                        }
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        };
        match made {
            Some(node) => self.push(node),
            None => self.stack.push(Value::Opaque),
        }
        Some(())
    }

    /// Arguments: storage, offset, shape, strides, and others of no interest.
    fn tensor(&self, arguments: &[Value]) -> Option<Tensor> {
        let [Value::Node(storage), Value::Int(offset), shape, strides, ..] = arguments else {
            return None;
        };
        let Node::Storage(element, key) = &self.nodes[*storage] else { return None };
        let sizes = |value: &Value| {
            let Value::Node(at) = value else { return None };
            let Node::Sequence(items) = &self.nodes[*at] else { return None };
            let sizes = items.iter().map(|item| match item {
                Value::Int(size) => usize::try_from(*size).ok(),
                _ => None,
            });
            sizes.collect::<Option<Vec<usize>>>()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        (shape.len() == strides.len()).then_some(Tensor {
            element: *element,
            storage: key.to_string(),
            offset: usize::try_from(*offset).ok()?,
            shape,
            strides,
        })
    }

    fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        let Value::Node(at) = value else { return None };
        match &self.nodes[*at] {
            Node::Dict(items) => Some(items),
            _ => None,
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    fn since_mark(&mut self) -> Option<Vec<Value>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len())?;
        Some(self.stack.split_off(mark))
    }

    fn text(&mut self, length: usize) -> Result<Value, PickleError> {
        let text = String::from_utf8_lossy(self.bytes(length)?).into_owned();
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<String, PickleError> {
        let rest = &self.pickle[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(PickleError::Short)?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let taken = self.pickle[self.at..].first_chunk().copied().ok_or(PickleError::Short)?;
        self.at += N;
        Ok(taken)
    }

    fn bytes(&mut self, length: usize) -> Result<&[u8], PickleError> {
        let bytes = self.pickle[self.at..].get(..length).ok_or(PickleError::Short)?;
        self.at += length;
        Ok(bytes)
    }
}
