"""What the page takes of Gradio beside its public names is there in the installed version."""

from demo_app import gradio_internals


def test_gradio_has_what_the_page_takes_of_it(page):
    demo, _ = page
    assert gradio_internals.missing(demo) == []
    gradio_internals.NAMES += ("_queue.no_such_store",)
    try:
        assert gradio_internals.missing(demo) == ["_queue.no_such_store"]
    finally:
        gradio_internals.NAMES = gradio_internals.NAMES[:-1]
