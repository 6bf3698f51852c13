"""JavaScript with fewer spaces: the same program. (The widgets' tests run their programs in this form.)"""

import pytest

from mobius_lib.widgets.compact import compact


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("const f = (a, b) => a * b;", "const f=(a,b)=>a*b;"),
        ('text("a = b ; \\" c", `x ${ { y: "}" }.y } = z`);', 'text("a = b ; \\" c",`x ${ { y: "}" }.y } = z`);'),
        ("`a ${`b ${c} }`} `;\nd ( );", "`a ${`b ${c} }`} `;d();"),
        ("a - -b + +c + d - e;", "a - -b + +c+d-e;"),
        ("a ++\nb", "a ++\nb"),  # a line end that ends a statement
        ("let a = 1\nlet b = 2", "let a=1\nlet b=2"),
        ("if (a) {\nreturn b;\n}\nelse c;", "if(a){return b;}\nelse c;"),
        ("x = 'it''s' in y", "x='it''s' in y"),
        ("return [1, 2]\n.map(f);", "return[1,2].map(f);"),
    ],
)
def test_spaces_go_and_literals_stay(before: str, after: str) -> None:
    assert compact(before) == after
    assert compact(after) == after


def test_the_same_values(in_node) -> None:
    """Expressions in which a space or a line end decides, evaluated before and after."""
    programs = [
        "const a = 5, b = 3; return a - -b + +a - b;",
        "let i = 1;\nconst k = i++\n+ 2;\nreturn [i, k];",
        "const f = () => {\nreturn 4;\n}\nreturn f ();",
        'const s = ` a ${[1, 2].map((v) => ` <${v}> `).join(" , ")} `;\nreturn s;',
        "const t = true ? { a : 1 } : [ 2 ];\nreturn t;",
        'const o = null;\nreturn o ?. a ?? "a ?? b";',
    ]

    class Widget:
        _esm = ""

    script = "return new Function(c)();"
    assert in_node(Widget, script, programs) == in_node(Widget, script, [compact(each) for each in programs])
