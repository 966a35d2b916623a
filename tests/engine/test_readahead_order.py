"""Which weights stay in memory, and which pass through."""

from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.engine.readahead_order import Place, Span, divide, step_order

PAGE = 4096


def model(sizes: list[int], *, output: int = 0) -> list[Place]:
    """Layers of these sizes in two tensors each, the embedding first, the output last."""
    places, at = [Place("token_embd.weight", 0, 1000)], 1000
    for number, size in enumerate(sizes):
        for name, part in (("attn_q", size // 3), ("ffn_up", size - size // 3)):
            places.append(Place(f"blk.{number}.{name}.weight", at, part))
            at += part
    if output:
        places.append(Place("output.weight", at, output))
    return places


def test_a_step_goes_through_the_layers_and_then_to_the_output() -> None:
    order = step_order(model([300, 600], output=50))
    assert order == [[Span(1000, 1300)], [Span(1300, 1900)], [Span(1900, 1950)]]


def test_the_embedding_is_read_only_where_it_is_the_output_too() -> None:
    tied = step_order(model([300, 600]))
    assert tied[-1] == [Span(0, 1000)]


def test_experts_are_left_to_the_system() -> None:
    places = [Place("blk.0.ffn_up_exps.weight", 0, 10), Place("blk.0.attn_q.weight", 10, 5)]
    assert step_order([*places, Place("output.weight", 15, 1)])[0] == [Span(10, 15)]


def test_layers_that_lie_apart_in_the_file_are_several_spans() -> None:
    far = [Place("blk.0.a", 0, 10), Place("blk.0.b", 1 << 20, 10), Place("output.weight", 50, 5)]
    assert step_order(far)[0] == [Span(0, 10), Span(1 << 20, (1 << 20) + 10)]


def test_what_fits_stays_whole() -> None:
    order = step_order(model([1 << 20] * 4, output=1 << 18))
    division = divide(order, 1 << 30)
    assert division.bytes_streamed == 0
    assert division.bytes_kept == 4 * (1 << 20) + (1 << 18)


@given(
    sizes=st.lists(st.integers(1, 1 << 24), min_size=1, max_size=40),
    output=st.integers(1, 1 << 25),
    share=st.floats(0, 1.5),
)
def test_all_is_read_once_and_the_budget_holds(sizes: list[int], output: int, share: float) -> None:
    order = step_order(model(sizes, output=output))
    total = sum(span.bytes for spans in order for span in spans)
    budget = int(total * share)
    division = divide(order, budget, PAGE)
    assert division.bytes_kept + division.bytes_streamed == total
    for spans, kept, streamed in zip(order, division.kept, division.streamed, strict=True):
        parts = sorted([*kept, *streamed], key=lambda span: span.start)
        assert parts[0].start == spans[0].start
        assert parts[-1].end == spans[-1].end
    largest = max(sum(span.bytes for span in spans) for spans in division.streamed)
    assert division.window >= largest
    smallest = divide(order, 0, PAGE).window
    if budget >= smallest:
        slack = PAGE * (len(order) + 1)
        assert division.bytes_kept + min(division.window, division.bytes_streamed) <= budget + slack


def test_every_layer_keeps_the_same_share() -> None:
    order = step_order(model([40 * PAGE] * 10, output=40 * PAGE))
    kept = [sum(span.bytes for span in spans) for spans in divide(order, 250 * PAGE).kept]
    assert max(kept) - min(kept) <= PAGE
    assert kept[0] > 0
