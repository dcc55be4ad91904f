"""What every page shows around its content: navigation, banners, links."""
