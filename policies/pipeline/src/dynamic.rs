//! Functions that make terms: `bind` for one value, `list_map` for each key of a list. What a
//! function made lives in a scope of its own and goes with the value it was made for.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use crate::{
    graph::{Graph, ScopeId},
    scope::Scope,
    term::{Id, Term},
    value::{Erased, Fail, Value},
};

/// The sub-graphs of one function.
pub(crate) trait Grow: Send {
    /// Brings the sub-graphs in line with `input`; gives the terms that they came to.
    fn grow(
        &mut self,
        graph: &mut Graph,
        owner: Id,
        input: &Arc<dyn Erased>,
    ) -> Result<Vec<Id>, Fail>;

    /// Disposes all sub-graphs.
    fn clear(&mut self, graph: &mut Graph);
}

fn foreign() -> Fail {
    Fail::new("a term of another engine is used here; its value has another type")
}

/// One sub-graph, made anew for each new value.
pub(crate) struct Bind<A, F> {
    function: F,
    made: Option<Made>,
    kind: PhantomData<fn(A)>,
}

struct Made {
    from: Arc<dyn Erased>,
    scope: ScopeId,
    result: Id,
}

impl<A, F> Bind<A, F> {
    pub(crate) const fn new(function: F) -> Self {
        Self {
            function,
            made: None,
            kind: PhantomData,
        }
    }
}

impl<A, B, F> Grow for Bind<A, F>
where
    A: Value,
    F: Fn(&mut Scope<'_>, &A) -> Term<B> + Send,
{
    fn grow(
        &mut self,
        graph: &mut Graph,
        owner: Id,
        input: &Arc<dyn Erased>,
    ) -> Result<Vec<Id>, Fail> {
        if let Some(made) = &self.made
            && made.from.same(&**input)
        {
            return Ok(vec![made.result]);
        }
        let value: &A = input.as_any().downcast_ref().ok_or_else(foreign)?;
        self.clear(graph);
        let scope = graph.open_scope(owner)?;
        let result = (self.function)(&mut Scope::new(graph, scope), value).id;
        self.made = Some(Made {
            from: Arc::clone(input),
            scope,
            result,
        });
        Ok(vec![result])
    }

    fn clear(&mut self, graph: &mut Graph) {
        if let Some(made) = self.made.take() {
            graph.dispose(made.scope);
        }
    }
}

/// One sub-graph for each key, kept as long as the key is in the list.
pub(crate) struct Each<K, F> {
    function: F,
    made: BTreeMap<K, (ScopeId, Id)>,
}

impl<K, F> Each<K, F> {
    pub(crate) const fn new(function: F) -> Self {
        Self {
            function,
            made: BTreeMap::new(),
        }
    }
}

impl<K, B, F> Grow for Each<K, F>
where
    K: Value + Ord,
    F: Fn(&mut Scope<'_>, &K) -> Term<B> + Send,
{
    fn grow(
        &mut self,
        graph: &mut Graph,
        owner: Id,
        input: &Arc<dyn Erased>,
    ) -> Result<Vec<Id>, Fail> {
        let keys: &Vec<K> = input.as_any().downcast_ref().ok_or_else(foreign)?;
        let mut kept = BTreeMap::new();
        for key in keys {
            if let Some((key, made)) = self.made.remove_entry(key) {
                kept.insert(key, made);
            }
        }
        // Before anything new is made, so that the old makes room for it.
        self.clear(graph);
        self.made = kept;
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((_, result)) = self.made.get(key) {
                results.push(*result);
                continue;
            }
            let scope = graph.open_scope(owner)?;
            let result = (self.function)(&mut Scope::new(graph, scope), key).id;
            self.made.insert(key.clone(), (scope, result));
            results.push(result);
        }
        Ok(results)
    }

    fn clear(&mut self, graph: &mut Graph) {
        for (scope, _) in std::mem::take(&mut self.made).into_values() {
            graph.dispose(scope);
        }
    }
}
