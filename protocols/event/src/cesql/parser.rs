//! From text to tree, by operator precedence (CESQL 1.0, chapter 2 and 3.6).

use std::borrow::Cow;

use super::error::SyntaxError;
use super::function::Function;
use super::lexer::{Lexer, Token, TokenKind, unquote};
use super::like::{PART_CHARS_MAX, Pattern};
use super::tree::{ArithmeticOperator, Chain, ComparisonOperator, LogicOperator, Node};
use super::value::Value;
use super::{DEPTH_MAX, EXPRESSION_BYTES_MAX};

/// How tightly an operator binds, from the loosest (3.6). The unary operators bind tighter than
/// all of these. All are applied from left to right, AND, OR and XOR too: the text of the
/// specification says so, although the grammar published with it groups them from the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Power {
    Logic,
    Comparison,
    Additive,
    Multiplicative,
    In,
    Like,
    /// Above every operator that stands behind its operand.
    Unary,
}

impl Power {
    /// The power that an operator has to have at least to take away the right operand of one with
    /// this power.
    fn tighter(self) -> Self {
        match self {
            Self::Logic => Self::Comparison,
            Self::Comparison => Self::Additive,
            Self::Additive => Self::Multiplicative,
            Self::Multiplicative => Self::In,
            Self::In => Self::Like,
            Self::Like | Self::Unary => Self::Unary,
        }
    }
}

/// An operator that stands behind its left operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Infix {
    Logic(LogicOperator),
    Comparison(ComparisonOperator),
    Arithmetic(ArithmeticOperator),
    Like { negated: bool },
    In { negated: bool },
}

impl Infix {
    fn power(self) -> Power {
        match self {
            Self::Logic(_) => Power::Logic,
            Self::Comparison(_) => Power::Comparison,
            Self::Arithmetic(ArithmeticOperator::Add | ArithmeticOperator::Subtract) => {
                Power::Additive
            }
            Self::Arithmetic(_) => Power::Multiplicative,
            Self::In { .. } => Power::In,
            Self::Like { .. } => Power::Like,
        }
    }

    fn logic(self) -> Option<LogicOperator> {
        match self {
            Self::Logic(operator) => Some(operator),
            _ => None,
        }
    }

    fn comparison(self) -> Option<ComparisonOperator> {
        match self {
            Self::Comparison(operator) => Some(operator),
            _ => None,
        }
    }

    fn arithmetic(self) -> Option<ArithmeticOperator> {
        match self {
            Self::Arithmetic(operator) => Some(operator),
            _ => None,
        }
    }

    fn from_token(kind: TokenKind) -> Option<Self> {
        Some(match kind {
            TokenKind::And => Self::Logic(LogicOperator::And),
            TokenKind::Or => Self::Logic(LogicOperator::Or),
            TokenKind::Xor => Self::Logic(LogicOperator::Xor),
            TokenKind::Equal => Self::Comparison(ComparisonOperator::Equal),
            TokenKind::NotEqual => Self::Comparison(ComparisonOperator::NotEqual),
            TokenKind::Less => Self::Comparison(ComparisonOperator::Less),
            TokenKind::LessOrEqual => Self::Comparison(ComparisonOperator::LessOrEqual),
            TokenKind::Greater => Self::Comparison(ComparisonOperator::Greater),
            TokenKind::GreaterOrEqual => Self::Comparison(ComparisonOperator::GreaterOrEqual),
            TokenKind::Plus => Self::Arithmetic(ArithmeticOperator::Add),
            TokenKind::Minus => Self::Arithmetic(ArithmeticOperator::Subtract),
            TokenKind::Star => Self::Arithmetic(ArithmeticOperator::Multiply),
            TokenKind::Slash => Self::Arithmetic(ArithmeticOperator::Divide),
            TokenKind::Percent => Self::Arithmetic(ArithmeticOperator::Remainder),
            TokenKind::Like => Self::Like { negated: false },
            TokenKind::In => Self::In { negated: false },
            _ => return None,
        })
    }
}

/// A node and how many levels it has.
struct Tree {
    node: Node,
    height: usize,
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    /// The piece that comes next.
    next: Token<'s>,
    missing_function: Option<SyntaxError>,
}

/// Reads an expression; with it comes the place of the first function that does not exist.
pub(super) fn parse(source: &str) -> Result<(Node, Option<SyntaxError>), SyntaxError> {
    if source.len() > EXPRESSION_BYTES_MAX {
        let expected = format!("at most {EXPRESSION_BYTES_MAX} bytes");
        return Err(SyntaxError::new(source, 0, expected, source));
    }
    let mut lexer = Lexer::new(source);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next, missing_function: None };
    let tree = parser.expression(Power::Logic, 0)?;
    if parser.next.kind != TokenKind::End {
        return Err(parser.expected("an operator or the end"));
    }
    Ok((tree.node, parser.missing_function))
}

impl<'s> Parser<'s> {
    /// An expression whose operators bind at least as tightly as `floor`, `depth` levels within
    /// others.
    fn expression(&mut self, floor: Power, depth: usize) -> Result<Tree, SyntaxError> {
        let mut left = self.operand(depth)?;
        while let Some(infix) = self.infix()?
            && infix.power() >= floor
        {
            left = match infix {
                Infix::Logic(_) => self.chain(left, depth, Infix::logic, Node::Logic),
                Infix::Comparison(_) => {
                    self.chain(left, depth, Infix::comparison, Node::Comparison)
                }
                Infix::Arithmetic(_) => {
                    self.chain(left, depth, Infix::arithmetic, Node::Arithmetic)
                }
                Infix::Like { negated } => self.like(left, negated),
                Infix::In { negated } => self.set(left, negated, depth),
            }?;
        }
        Ok(left)
    }

    /// The operator that comes next; NOT is one together with LIKE or IN behind it.
    fn infix(&self) -> Result<Option<Infix>, SyntaxError> {
        if self.next.kind != TokenKind::Not {
            return Ok(Infix::from_token(self.next.kind));
        }
        let behind = self.lexer.clone().next()?;
        match behind.kind {
            TokenKind::Like => Ok(Some(Infix::Like { negated: true })),
            TokenKind::In => Ok(Some(Infix::In { negated: true })),
            _ => Err(self.expected_at(behind, "LIKE or IN after NOT")),
        }
    }

    /// All operators of one precedence that follow one another, with their right operands.
    fn chain<Operator>(
        &mut self,
        left: Tree,
        depth: usize,
        operator: fn(Infix) -> Option<Operator>,
        build: fn(Chain<Operator>) -> Node,
    ) -> Result<Tree, SyntaxError> {
        let Some(power) = self.infix()?.map(Infix::power) else {
            return Ok(left);
        };
        let mut rest = Vec::new();
        let mut height = left.height;
        while let Some(infix) = self.infix()?.filter(|infix| infix.power() == power)
            && let Some(operator) = operator(infix)
        {
            self.advance()?;
            let right = self.expression(power.tighter(), depth)?;
            height = height.max(right.height);
            rest.push((operator, right.node));
        }
        let first = Box::new(left.node);
        self.above(height, build(Chain { first, rest }))
    }

    fn like(&mut self, left: Tree, negated: bool) -> Result<Tree, SyntaxError> {
        self.skip_operator(negated)?;
        let quoted = self.next;
        if quoted.kind != TokenKind::Quoted {
            return Err(self.expected("a pattern in quotes"));
        }
        self.advance()?;
        let pattern = Pattern::parse(&unquote(quoted.text)).map_err(|_| {
            let expected =
                format!("at most {PART_CHARS_MAX} characters between two % where one is _");
            self.expected_at(quoted, expected)
        })?;
        let operand = Box::new(left.node);
        self.above(left.height, Node::Like { operand, pattern, negated })
    }

    fn set(&mut self, left: Tree, negated: bool, depth: usize) -> Result<Tree, SyntaxError> {
        self.skip_operator(negated)?;
        self.take(TokenKind::Open, "( and a list after IN")?;
        let (set, height) = self.list(depth)?;
        let operand = Box::new(left.node);
        self.above(left.height.max(height), Node::In { operand, set, negated })
    }

    /// Expressions with commas between them, at least one, and the closing parenthesis; with the
    /// height of the highest.
    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, usize), SyntaxError> {
        let depth = self.below(depth)?;
        let mut nodes = Vec::new();
        let mut height = 0;
        loop {
            let tree = self.expression(Power::Logic, depth)?;
            height = height.max(tree.height);
            nodes.push(tree.node);
            if self.next.kind != TokenKind::Comma {
                self.take(TokenKind::Close, "an operator, a comma or )")?;
                return Ok((nodes, height));
            }
            self.advance()?;
        }
    }

    /// An operand with the unary operators before it.
    fn operand(&mut self, depth: usize) -> Result<Tree, SyntaxError> {
        let token = self.next;
        match token.kind {
            TokenKind::Not => {
                self.advance()?;
                let operand = self.below(depth).and_then(|depth| self.operand(depth))?;
                self.above(operand.height, Node::Not(Box::new(operand.node)))
            }
            TokenKind::Minus | TokenKind::Plus => self.signed(depth),
            TokenKind::Digits => {
                self.advance()?;
                self.integer(token, token.text)
            }
            TokenKind::Quoted => {
                self.advance()?;
                let text = unquote(token.text);
                self.above(0, Node::Literal(Value::String(text.into())))
            }
            TokenKind::True | TokenKind::False => {
                self.advance()?;
                let truth = token.kind == TokenKind::True;
                self.above(0, Node::Literal(Value::Boolean(truth)))
            }
            TokenKind::Exists => {
                self.advance()?;
                let name = self.next;
                if !matches!(name.kind, TokenKind::Word | TokenKind::Digits) {
                    return Err(self.expected("an attribute name after EXISTS"));
                }
                self.advance()?;
                let name = self.attribute_name(name)?;
                self.above(0, Node::Exists(name))
            }
            TokenKind::Open => {
                self.advance()?;
                let depth = self.below(depth)?;
                let tree = self.expression(Power::Logic, depth)?;
                self.take(TokenKind::Close, "an operator or )")?;
                Ok(tree)
            }
            TokenKind::Word => self.named(depth),
            _ => Err(self.expected("an expression")),
        }
    }

    /// A sign and what follows: with digits right behind it is a literal; otherwise `-` is an
    /// operator, and `+` nothing at all.
    fn signed(&mut self, depth: usize) -> Result<Tree, SyntaxError> {
        let sign = self.next;
        self.advance()?;
        let digits = self.next;
        if digits.kind == TokenKind::Digits && digits.at == sign.at + sign.text.len() {
            self.advance()?;
            let literal = &self.lexer.source()[sign.at..digits.at + digits.text.len()];
            return self.integer(sign, literal);
        }
        if sign.kind == TokenKind::Plus {
            return Err(self.expected("digits right behind +"));
        }
        let operand = self.below(depth).and_then(|depth| self.operand(depth))?;
        self.above(operand.height, Node::Negate(Box::new(operand.node)))
    }

    fn integer(&self, token: Token<'s>, literal: &str) -> Result<Tree, SyntaxError> {
        let number = literal
            .parse()
            .map_err(|_| self.expected_at(token, "an integer from -2147483648 to 2147483647"))?;
        self.above(0, Node::Literal(Value::Integer(number)))
    }

    /// An attribute, or the call of a function when a parenthesis follows.
    fn named(&mut self, depth: usize) -> Result<Tree, SyntaxError> {
        let name = self.next;
        self.advance()?;
        if self.next.kind != TokenKind::Open {
            let name = self.attribute_name(name)?;
            return self.above(0, Node::Attribute(name));
        }
        if name.text.bytes().any(|b| b.is_ascii_digit()) {
            return Err(self.expected_at(name, "a function name of letters and _"));
        }
        self.advance()?;
        let (arguments, height) = if self.next.kind == TokenKind::Close {
            self.advance()?;
            (Vec::new(), 0)
        } else {
            self.list(depth)?
        };
        let node = match Function::find(name.text, arguments.len()) {
            Some(function) => Node::Call { function, arguments },
            None => self.missing_function(name, arguments.len()),
        };
        self.above(height, node)
    }

    fn missing_function(&mut self, name: Token<'s>, arguments: usize) -> Node {
        if self.missing_function.is_none() {
            let expected = format!("a function of CESQL 1.0 that takes {arguments} arguments");
            self.missing_function = Some(self.expected_at(name, expected));
        }
        Node::MissingFunction { name: name.text.into(), arguments }
    }

    /// The name of an attribute in lower case, the only one that names have: what is not a keyword
    /// is found in whatever case too.
    fn attribute_name(&self, name: Token<'s>) -> Result<Box<str>, SyntaxError> {
        if name.text.contains('_') {
            return Err(self.expected_at(name, "an attribute name of letters and digits"));
        }
        Ok(name.text.to_ascii_lowercase().into())
    }

    fn advance(&mut self) -> Result<(), SyntaxError> {
        self.next = self.lexer.next()?;
        Ok(())
    }

    fn skip_operator(&mut self, negated: bool) -> Result<(), SyntaxError> {
        if negated {
            self.advance()?;
        }
        self.advance()
    }

    fn take(&mut self, kind: TokenKind, expected: &'static str) -> Result<(), SyntaxError> {
        if self.next.kind != kind {
            return Err(self.expected(expected));
        }
        self.advance()
    }

    /// One level further in; the bound of the parser's own recursion.
    fn below(&self, depth: usize) -> Result<usize, SyntaxError> {
        if depth >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        Ok(depth + 1)
    }

    /// A node over others of at most `height` levels; the bound of every later recursion.
    fn above(&self, height: usize, node: Node) -> Result<Tree, SyntaxError> {
        if height >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        let height = height + 1;
        Ok(Tree { node, height })
    }

    fn too_deep(&self) -> SyntaxError {
        self.expected(format!("at most {DEPTH_MAX} levels"))
    }

    fn expected(&self, expected: impl Into<Cow<'static, str>>) -> SyntaxError {
        self.expected_at(self.next, expected)
    }

    fn expected_at(&self, found: Token<'s>, expected: impl Into<Cow<'static, str>>) -> SyntaxError {
        SyntaxError::new(self.lexer.source(), found.at, expected, found.text)
    }
}
