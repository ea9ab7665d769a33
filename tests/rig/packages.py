def test_packages(report): pass
